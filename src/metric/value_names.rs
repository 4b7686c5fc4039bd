//! Names of values: what is shown in place of an id or a code. They are looked up where numbers are
//! shown, so that a new name moves no history.

use std::collections::HashMap;

use super::Catalogue;

/// What values are called, by dimension.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ValueNames(HashMap<String, HashMap<String, String>>);

impl ValueNames {
    /// Notes that a value of the dimension of a name is called `name`.
    pub fn add(&mut self, dimension: String, value: String, name: String) {
        self.0.entry(dimension).or_default().insert(value, name);
    }

    /// What a value of the dimension of a name is called, if it is known.
    pub fn name(&self, dimension: &str, value: &str) -> Option<&str> {
        self.0.get(dimension)?.get(value).map(String::as_str)
    }

    /// The values of a grouping set with their names, or as they are where none is known.
    pub fn of_group<'a>(
        &'a self,
        catalogue: &Catalogue,
        set: usize,
        values: &'a [String],
    ) -> impl Iterator<Item = &'a str> {
        let dimensions = catalogue.set(set).map(|set| set.dimensions.as_slice());
        let names: Vec<&str> = dimensions
            .unwrap_or_default()
            .iter()
            .zip(values)
            .map(|(dimension, value)| {
                let dimension = catalogue.dimension_name(*dimension);
                self.name(&dimension, value).unwrap_or(value)
            })
            .collect();
        names.into_iter()
    }
}
