//! Dimensions, and the grouping sets: the combinations of them that metrics are kept for.

use super::pane::Grain;
use crate::symbol::Symbol;

/// Dimensions that no record has: they are derived from the owner and the day, by who reported to
/// whom.
pub const DERIVED: [(Dimension, &str); 2] = [
    (Dimension::MANAGER, "manager"),
    (Dimension::ORG_UNIT, "org_unit"),
];

/// How many dimensions an organisation can have: eight of all metrics, eight custom fields, and
/// those of a few metrics only.
pub const DIMENSIONS: usize = CANONICAL.len() + CUSTOM + SPECIAL.len();
/// How many custom fields can be dimensions.
pub const CUSTOM: usize = 8;
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
/// Dimensions that only a few metrics have, after the custom fields: append, since links hold the
/// numbers of those before.
pub const SPECIAL: [&str; 3] = ["stage", "forecast_category", "lost_reason"];

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
    /// The slot of the first dimension that only a few metrics have.
    pub const FIRST_SPECIAL: usize = CANONICAL.len() + CUSTOM;
    /// How far a deal got.
    pub const STAGE: Dimension = Dimension(Self::FIRST_SPECIAL as u8);
    /// The category it is forecast under, as its source names it.
    pub const FORECAST_CATEGORY: Dimension = Dimension(Self::FIRST_SPECIAL as u8 + 1);
    /// Why it was lost.
    pub const LOST_REASON: Dimension = Dimension(Self::FIRST_SPECIAL as u8 + 2);

    /// The manager of the owner, and every manager above, as of the day.
    pub const MANAGER: Dimension = Dimension(DIMENSIONS as u8);
    /// The team of the owner, and every one it was a part of, as of the day.
    pub const ORG_UNIT: Dimension = Dimension(DIMENSIONS as u8 + 1);

    /// The slot of a name that is no custom field's.
    pub fn named(name: &str) -> Option<Dimension> {
        let position = |names: &[&str]| names.iter().position(|known| *known == name);
        let special = || Some(position(&SPECIAL)? + Self::FIRST_SPECIAL);
        let slot = position(&CANONICAL).or_else(special)?;
        Some(Dimension(slot as u8))
    }

    /// Its name, unless it is a custom field.
    pub fn name(self) -> Option<&'static str> {
        let slot = usize::from(self.0);
        let special = || SPECIAL.get(slot.checked_sub(Self::FIRST_SPECIAL)?);
        let derived = || DERIVED.iter().find(|(dimension, _)| *dimension == self);
        let named = CANONICAL.get(slot).or_else(special).copied();
        named.or_else(|| derived().map(|(_, name)| *name))
    }

    /// True for a custom field.
    pub fn is_custom(self) -> bool {
        (Self::FIRST_CUSTOM..Self::FIRST_SPECIAL).contains(&usize::from(self.0))
    }
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
