//! Windows: time divided into panes, values in cells, and the sums that are read from them.

pub mod calendar;
mod cell;
mod dimension;
mod hours;
mod pane;
pub mod rolling;
pub mod sketch;
mod when;

pub use calendar::{Calendar, Day};
pub use cell::{Cell, CellKey};
pub use dimension::{
    CANONICAL, CUSTOM, DERIVED, DIMENSIONS, Dimension, Dims, GroupingSet, MAX_CROSS, SPECIAL,
};
pub use hours::HoursKept;
pub use pane::{Grain, Pane};
pub use sketch::Sketch;
pub use when::{When, date};
