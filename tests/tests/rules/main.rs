//! The rules of liveness, one by one. Each test fails when its rule is taken out.

mod judging;
mod more;
mod pinging;
mod timers;
