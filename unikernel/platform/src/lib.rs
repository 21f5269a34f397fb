//! The machine under a node: how it boots, its memory, clock, interrupts, console and power switch.
//!
//! This is the only crate that names the kernel. What it gives away is plain: a [`memory::Arena`] that
//! devices can reach, a [`clock::Clock`], a way to [`idle`] until something happens, a serial port, and
//! random bits. Everything above is written against those, and builds on any host without them.
//!
//! The node runs on the kernel's first task, alone, to completion, with interrupts disabled; they are let
//! in only while [`idle::Idle::wait`] has the processor halted. An interrupt does nothing but wake it up.
//! With the feature `smp` further processors do the same, each on a task of its own (`processors`).
#![no_std]
#![feature(abi_x86_interrupt)]

extern crate alloc;
// Its `_start`, its allocator and its panic handler are linked in by name.
extern crate hermit;

mod apic;
pub mod boot;
mod calibration;
pub mod clock;
pub mod devices;
pub mod entropy;
pub mod firmware;
pub mod heap;
pub mod idle;
pub mod interrupts;
mod ioapic;
pub mod memory;
pub mod mmio;
pub mod pci;
pub mod power;
#[cfg(feature = "smp")]
pub mod processors;
pub mod serial;
