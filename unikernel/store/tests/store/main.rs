//! The store on a disk that crashes, rots, fills up and lies.

mod crash;
mod damage;
mod disk;
mod install;
mod model;
mod ring;
mod snapshot;
