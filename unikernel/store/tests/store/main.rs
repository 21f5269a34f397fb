//! The store on a disk that crashes, rots, fills up and lies.

mod crash;
mod damage;
mod disk;
mod headers;
mod install;
mod model;
mod ring;
mod snapshot;
