-- The thresholds of alerts that `dealpulse alerts calibrate` found, by epoch and watched series; of one series the newest counts. A series
-- or an epoch without a row has the threshold of the simulation.
CREATE TABLE alert_thresholds
(
    epoch             UInt32,
    watch             LowCardinality(String) COMMENT 'win_rate, close_rate_30d, upsell_rate, cycle_length, lead_volume',
    dimension         LowCardinality(String) COMMENT 'all for the total, else source or team',
    value             String COMMENT 'all for the total; blank for records without a value',
    calibrated_at     DateTime64(6, 'UTC'),
    newest_day        Date32 COMMENT 'the last day of the history it is from',
    threshold         Float64 COMMENT 'evidence above it alerts, in nats',
    false_a_year      Float64 COMMENT 'false episodes a year with it',
    smallest_drop     Nullable(Float64) COMMENT 'the smallest change that is caught within 28 days with 80 % power; NULL if none is',
    dispersion        Float64 COMMENT 'the variance of the daily counts ÷ what chance alone gives',
    baseline_sample   Float64 COMMENT 'how many records the newest day is compared with',
    baseline_quarters UInt8 COMMENT 'how many of the last four quarters they are from; 0 for a flat baseline'
)
ENGINE = ReplacingMergeTree(calibrated_at)
ORDER BY (epoch, watch, dimension, value);
