//! Values of fields that the CRM keeps as records of their own.

use super::world::World;

impl World {
    /// A custom field of a team, which no metric reads.
    pub(super) fn introduce_field_values(&mut self, at: i64) {
        // As the stages: what follows is as it would be without it.
        let (random, published) = (self.random.clone(), self.published);
        let event = self
            .event("field_value", "upserted", "CF-1".to_owned(), at)
            .text("entity", "team")
            .text("record_id", "T-sales")
            .text("field", "custom.cost_center")
            .text("value", "4711");
        self.publish(event);
        (self.random, self.published) = (random, published);
    }
}
