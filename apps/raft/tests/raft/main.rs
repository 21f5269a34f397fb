//! What a group of members does: scenario by scenario, thousands of times, and as text.

mod behaviour;
mod cluster;
mod company;
mod disk;
mod flow;
mod leadership;
mod members;
mod reads;
mod recall;
mod repair;
mod silence;
mod snapshots;
mod split_votes;
mod stage;
mod transcripts;
mod void;
mod words;
