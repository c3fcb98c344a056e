#[cfg(feature = "deflate")]
mod codec;
#[cfg(feature = "deflate")]
mod naive;
mod negotiation;
