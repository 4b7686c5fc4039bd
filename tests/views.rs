//! The views of the metrics, over the events of a generated organisation in the real engine: every
//! one has rows, and they add up.

use crate::support::stored::{Stored, generated};
use dealpulse::definitions::DefinitionsSpec;
use dealpulse::local::generate::stage_order;

#[tokio::test]
async fn every_view_of_every_metric_has_rows_and_they_add_up() {
    // What the organisation's stages won and lost stand for is not said: they are counted beside.
    let spec = DefinitionsSpec {
        stage_order: stage_order().map(str::to_owned).to_vec(),
        ..DefinitionsSpec::default()
    };
    let mut stored = Stored::with("viewed", spec).await;
    for lines in generated(150).chunks(400) {
        stored.feed(lines).await;
    }
    let definitions = stored.definitions.clone();
    for metric in definitions.metrics() {
        for view in metric.views() {
            // All columns of all rows are computed.
            let sql = format!("SELECT count(), sum(cityHash64(*)) FROM {}", view.name);
            let rows = &stored.row(&sql).await[0];
            assert_ne!(rows, "0", "{} has no rows", view.name);
        }
    }

    let equal = [
        // Who won what, by every period, is all that was won.
        (
            "SELECT sum(won), sum(won_amount) FROM win_rate_daily WHERE dimension = 'owner'",
            "SELECT sum(won), sum(won_amount) FROM sales_race WHERE period = 'week'",
        ),
        (
            "SELECT sum(won), sum(won_amount) FROM win_rate_daily WHERE dimension = 'owner'",
            "SELECT sum(won), sum(won_amount) FROM sales_race WHERE period = 'year'",
        ),
        // Nobody shares a rank in a race.
        (
            "SELECT count() FROM sales_race",
            "SELECT uniqExact(period, start, currency, rank) FROM sales_race",
        ),
        // What is open by owner is what is open.
        (
            "SELECT sum(pipeline_cumulative), sum(weighted) FROM forecast WHERE dimension = ''",
            "SELECT sum(pipeline_cumulative), sum(weighted) FROM forecast WHERE dimension = 'stage'",
        ),
        (
            "SELECT sum(target) FROM quota_monthly WHERE dimension = ''",
            "SELECT sum(target) FROM quota_monthly WHERE dimension = 'owner'",
        ),
        (
            "SELECT sum(customers), sum(total) FROM clv_cohort WHERE dimension = '' AND basis = 'payments'",
            "SELECT sum(customers), sum(total) FROM clv_cohort WHERE dimension = 'region' AND basis = 'payments'",
        ),
        (
            "SELECT sum(base), sum(kept) FROM retention_monthly WHERE dimension = ''",
            "SELECT sum(base), sum(kept) FROM retention_monthly WHERE dimension = 'owner'",
        ),
        (
            "SELECT sum(lost), sum(lost_amount) FROM losses_daily WHERE dimension = 'lost_reason'",
            "SELECT sum(lost), sum(lost_amount) FROM win_rate_daily WHERE dimension = ''",
        ),
        // What goes on from the last stage is won; what goes on from one reaches the next; all of
        // it in every group.
        (
            "SELECT sum(passed), sum(decided_passed) FROM stage_conversion_daily WHERE dimension = 'owner' AND stage = 'negotiation'",
            "SELECT sum(won), sum(won) FROM deals_opened_daily WHERE dimension = ''",
        ),
        (
            "SELECT sum(reached), sum(passed), sum(decided_reached) FROM stage_conversion_daily WHERE dimension = ''",
            "SELECT sum(reached), sum(passed), sum(decided_reached) FROM stage_conversion_daily WHERE dimension = 'product'",
        ),
        (
            "SELECT sumIf(passed, position < 4) FROM stage_conversion_daily WHERE dimension = ''",
            "SELECT sumIf(reached, position > 1) FROM stage_conversion_daily WHERE dimension = ''",
        ),
        (
            "SELECT sum(unmapped) FROM stages_beside_daily WHERE dimension = ''",
            "SELECT sum(unmapped) FROM stages_beside_daily WHERE dimension = 'team'",
        ),
        // Money that came in is what the payments say.
        (
            "SELECT sum(received) - sum(returned) FROM revenue_daily",
            "SELECT sum(if(kind IN ('refund', 'credit'), -abs(amount), amount)) FROM payments FINAL WHERE deleted = 0",
        ),
        (
            "SELECT sum(records), sum(amount) FROM invoices_daily WHERE step = 'issued' AND dimension = ''",
            "SELECT sum(issued), sum(issued_amount) FROM invoices_by_account",
        ),
    ];
    for (one, other) in equal {
        assert_eq!(stored.row(one).await, stored.row(other).await, "{one}");
    }
}
