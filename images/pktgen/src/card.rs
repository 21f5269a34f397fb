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

/// How often arrivals were looked for, and in vain. The driver counts that of packets only, not of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Polls {
    all: u64,
    empty: u64,
}

impl Polls {
    /// They were looked for, and so many were there.
    #[inline]
    pub fn note(&mut self, received: usize) {
        self.all += 1;
        self.empty += u64::from(received == 0);
    }

    /// What the card has counted, with this.
    #[must_use]
    pub fn within(self, statistics: NetStatistics) -> NetStatistics {
        NetStatistics { receive_polls: self.all, receive_polls_empty: self.empty, ..statistics }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_counted_beside_what_the_card_counts() {
        let mut polls = Polls::default();
        [0, 32, 0, 1].into_iter().for_each(|received| polls.note(received));
        let card = NetStatistics { kicks: 7, receive_polls: 9, ..NetStatistics::default() };
        let both = polls.within(card);
        assert_eq!((both.receive_polls, both.receive_polls_empty, both.kicks), (4, 2, 7));
    }
}
