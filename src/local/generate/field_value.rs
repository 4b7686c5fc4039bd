//! Values of fields that the CRM keeps as records of their own.

use super::world::World;

impl World {
    /// A custom field of the whole organisation, which no metric reads.
    pub(super) fn introduce_field_values(&mut self, at: i64) {
        self.beforehand(|world| {
            let event = world
                .event("field_value", "upserted", "CF-1".to_owned(), at)
                .text("entity", "team")
                .text("record_id", "T-sales")
                .text("field", "custom.cost_center")
                .text("value", "4711");
            world.publish(event);
        });
    }
}
