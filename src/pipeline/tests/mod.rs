//! The pipeline as a whole, cut by power: what is recorded, what a disk may have kept of it, and what start-up makes of
//! that.

mod cases;
mod crash;
mod disk;
mod power;
mod recording;
mod room;
