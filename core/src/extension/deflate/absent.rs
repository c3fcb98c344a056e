//! What stands in for compressing where the feature `deflate` is off: nothing can be made of it.

use alloc::vec::Vec;
use core::convert::Infallible;

use super::{DeflateConfig, DeflateParams};
use crate::Role;

/// Never there: without the feature nothing is offered or agreed on.
#[derive(Debug)]
pub(crate) struct Codec(Infallible);

/// Has the names of what inflating comes to.
#[derive(Debug)]
#[expect(dead_code, reason = "nothing is inflated")]
pub(crate) enum InflateFault<E> {
    Data,
    Limit,
    Sink(E),
}

impl Codec {
    pub(crate) fn new(_: &DeflateConfig, _: DeflateParams, _: Role) -> Option<Self> {
        None
    }

    pub(crate) fn params(&self) -> DeflateParams {
        match self.0 {}
    }

    pub(crate) fn is_inflating(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn set_inflating(&mut self, _is_compressed: bool) {
        match self.0 {}
    }

    pub(crate) fn inflate<E>(
        &mut self,
        _data: &[u8],
        _mask: Option<[u8; 4]>,
        _last: bool,
        _room: u64,
        _sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), InflateFault<E>> {
        match self.0 {}
    }

    pub(crate) fn deflate(&mut self, _data: &[u8], _first: bool, _last: bool) -> Option<Vec<u8>> {
        match self.0 {}
    }

    pub(crate) fn release(&mut self) {
        match self.0 {}
    }
}
