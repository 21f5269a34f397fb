//! Devices, drivers and stacks that others wrote, with ours at the other end: not how fast, but whether what
//! one side counts is what the other counts. Stories of `tests/vm` tell them.

pub(in crate::bench) mod linux;
mod peer;
pub(in crate::bench) mod rss;
pub(in crate::bench) mod tap;
pub(in crate::bench) mod testpmd;
pub(in crate::bench) mod virtio_user;
