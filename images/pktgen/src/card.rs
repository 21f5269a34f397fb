//! What a card says of itself, as far as a station is told.

use netio::NetStatistics;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Card {
    /// What was counted; of a card with several pairs of queues, by the station's own.
    pub statistics: NetStatistics,
    /// Whether there is a link, if the station looks after the card.
    pub is_link_up: Option<bool>,
    /// Whether its rings are packed, if that is known.
    pub is_packed: Option<bool>,
}

impl Card {
    /// What is known of a card whose pairs say this, the first of which has its station look after the card.
    /// Rings are those of a pair.
    pub fn whole(pairs: impl Iterator<Item = Card>) -> Card {
        pairs.reduce(Card::and).unwrap_or_default()
    }

    fn and(self, other: Card) -> Card {
        let NetStatistics { receive_ring, transmit_ring, .. } = self.statistics;
        let sum = self.statistics + other.statistics;
        Card { statistics: NetStatistics { receive_ring, transmit_ring, ..sum }, ..self }
    }
}
