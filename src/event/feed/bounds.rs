//! How much the document of a message may have that is written by a schema: some of it takes few
//! bytes of the message, or none.

/// How many values: an array of nulls takes no bytes, however long it is.
pub(super) const VALUES: usize = 100_000;
/// How many bytes the names of fields and the words of enumerations, which it has from its schema.
const NAMES: usize = 16 << 20;

/// What a document may still have.
pub(super) struct Bounds {
    values: usize,
    names: usize,
}

impl Bounds {
    pub fn new() -> Bounds {
        Bounds {
            values: VALUES,
            names: NAMES,
        }
    }

    /// Takes off a value.
    ///
    /// # Errors
    /// There is none left.
    pub fn value(&mut self) -> Result<(), String> {
        let left = self.values.checked_sub(1);
        self.values = left.ok_or_else(|| format!("it has more than {VALUES} values"))?;
        Ok(())
    }

    /// A name of the schema, which is taken off.
    ///
    /// # Errors
    /// It is longer than what is left.
    pub fn name(&mut self, name: &str) -> Result<String, String> {
        let left = self.names.checked_sub(name.len());
        self.names = left.ok_or_else(|| {
            format!("the names of its fields and words come to more than {NAMES} bytes")
        })?;
        Ok(name.to_owned())
    }
}
