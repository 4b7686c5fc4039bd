//! Items: rules that read the items of an array in a row as rows of their own, such as the refunds
//! of an order.
//!
//! The columns of such a rule are the item's; those that begin with `../` are the row's:
//! `../customer_id`.

use super::{MappingError, Rule, pointer};

/// What leads from an array to the items of an array in each of its items.
const EACH: &str = "/*/";

/// Where in a row the items are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Items(String);

impl Items {
    /// Reads a JSON pointer to an array, in which `*` is each item: `/refunds`,
    /// `/refunds/*/transactions`.
    ///
    /// # Errors
    /// What would be right.
    pub fn new(key: &str, pointer: String) -> Result<Items, MappingError> {
        let is_pointer = |part: &str| !part.is_empty() && !part.split('/').any(|t| t == "*");
        let parts = pointer.strip_prefix('/').map(|rest| rest.split(EACH));
        if parts.is_some_and(|mut parts| parts.all(is_pointer)) {
            return Ok(Items(pointer));
        }
        let problem = format!(
            "`{pointer}` leads to no array; write a JSON pointer like `/refunds`, or `/refunds/*/transactions` for arrays in the items of an array"
        );
        Err(MappingError::wrong(format!("{key}.items"), problem))
    }
}

impl Rule {
    /// The pointers that lead to its items, each from the items of the one before; none if its rows
    /// are no items.
    pub fn items(&self) -> Option<impl Iterator<Item = String>> {
        let Items(pointer) = self.items.as_ref()?;
        let parts = pointer[1..].split(EACH);
        Some(parts.map(|part| format!("/{part}")))
    }

    /// The column of the whole row that a column of the rule is; none if it is an item's.
    pub fn column_of_row<'c>(&self, column: &'c str) -> Option<&'c str> {
        match &self.items {
            None => Some(column),
            Some(_) => column.strip_prefix("..").filter(|c| c.starts_with('/')),
        }
    }

    /// Where in the whole row a column of the rule is, as a pointer; nowhere if it is an item's.
    pub(super) fn place(&self, column: &str) -> Option<String> {
        self.column_of_row(column).map(pointer)
    }

    /// A rule reads a hashed column of an item in no dead letter again: where items are in a
    /// message only the message knows.
    pub(super) fn check_items(&self) -> Result<(), MappingError> {
        let mut uses = self.uses();
        match uses.find(|(_, column, by)| by.is_some() && self.column_of_row(column).is_none()) {
            Some((key, column, _)) => Err(MappingError::wrong(
                key,
                format!(
                    "`{column}` is an item's, and only columns of the whole row (`../…`) can be hashed"
                ),
            )),
            None => Ok(()),
        }
    }
}
