//! Dimensions, and the grouping sets: the combinations of them that metrics are kept for.

use super::pane::Grain;
use crate::symbol::Symbol;

/// How many dimensions an organisation can have: eight of ours and eight custom fields.
pub const DIMENSIONS: usize = 16;
/// How many dimensions one grouping set can cross.
pub const MAX_CROSS: usize = 3;

/// By what a number can be cut. The value is a slot in [`Dims`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dimension(pub u8);

/// The dimensions every organisation has, by slot.
pub const CANONICAL: [&str; 8] = [
    "source",
    "region",
    "product",
    "deal_type",
    "team",
    "owner",
    "pipeline",
    "segment",
];

impl Dimension {
    /// Where it came from: `lead_source`.
    pub const SOURCE: Dimension = Dimension(0);
    /// `region`.
    pub const REGION: Dimension = Dimension(1);
    /// `product`.
    pub const PRODUCT: Dimension = Dimension(2);
    /// `deal_type`.
    pub const DEAL_TYPE: Dimension = Dimension(3);
    /// The team credited.
    pub const TEAM: Dimension = Dimension(4);
    /// The owner credited.
    pub const OWNER: Dimension = Dimension(5);
    /// `pipeline`.
    pub const PIPELINE: Dimension = Dimension(6);
    /// The account's `segment`.
    pub const SEGMENT: Dimension = Dimension(7);
    /// The slot of the first custom field.
    pub const FIRST_CUSTOM: usize = CANONICAL.len();
}

/// A value for every dimension; blank where there is none.
pub type Dims = [Symbol; DIMENSIONS];

/// Dimensions a number is cut by together, and how finely in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupingSet {
    /// Its name in the rollups: its dimensions joined by commas, blank for the total.
    pub name: String,
    /// Up to [`MAX_CROSS`], in the order they are shown in; none for the total.
    pub dimensions: Vec<Dimension>,
    /// The panes it is kept for.
    pub grains: Vec<Grain>,
}
