//! The ports, by number.

use std::ops::{Deref, DerefMut};

use super::patience::Patience;
use crate::fabric::PortId;
use crate::port::Port;

/// A port, and what the loop remembers of it.
#[derive(Debug)]
pub(super) struct Slot {
    port: Port,
    pub(super) patience: Patience,
    /// It is looked at in every turn.
    pub(super) is_active: bool,
    /// How often it will be looked at again though its machine has not rung.
    pub(super) looks_left: u8,
    /// Its machine was given a frame in this turn.
    pub(super) is_given: bool,
    /// Its machine is to be told something at the end of this turn.
    pub(super) is_touched: bool,
}

impl Deref for Slot {
    type Target = Port;

    fn deref(&self) -> &Port {
        &self.port
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut Port {
        &mut self.port
    }
}

/// All ports. A number is an index, and is never used again.
#[derive(Debug, Default)]
pub(super) struct Ports(Vec<Option<Box<Slot>>>);

impl Ports {
    /// The number that the next port gets.
    pub(super) fn next_id(&self) -> PortId {
        PortId(u32::try_from(self.0.len()).expect("nobody adds ports that often"))
    }

    pub(super) fn add(&mut self, port: Port) {
        let patience = Patience::new();
        let (is_active, looks_left, is_given, is_touched) = (false, 0, false, false);
        let slot = Slot { port, patience, is_active, looks_left, is_given, is_touched };
        self.0.push(Some(Box::new(slot)));
    }

    pub(super) fn get(&self, id: PortId) -> Option<&Slot> {
        self.0.get(id.0 as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: PortId) -> Option<&mut Slot> {
        self.0.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// Takes a port out: while its frames are handed round, the others are there and it is not.
    pub(super) fn take(&mut self, id: PortId) -> Option<Box<Slot>> {
        self.0.get_mut(id.0 as usize)?.take()
    }

    pub(super) fn put(&mut self, id: PortId, slot: Box<Slot>) {
        self.0[id.0 as usize] = Some(slot);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// A bound for the numbers of those that are there.
    pub(super) fn ids(&self) -> impl Iterator<Item = PortId> + use<> {
        (0..self.next_id().0).map(PortId)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PortId, &Port)> {
        let slots = self.ids().zip(&self.0);
        slots.filter_map(|(id, slot)| Some((id, &slot.as_deref()?.port)))
    }
}
