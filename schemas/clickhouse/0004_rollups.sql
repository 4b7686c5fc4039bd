-- The rollups. One row per cell and shard: absolute values at the offset `version`, so a repeated write changes nothing and a stale
-- one loses. Zeros are rows. A pane is an hour's instant, or a day's or month's local date at midnight.
CREATE TABLE rollups
(
    epoch     UInt32,
    series    LowCardinality(String) COMMENT 'metric.series, whose measures the view of the metric names',
    grain     Enum8('hour' = 1, 'day' = 2, 'month' = 3, 'undated' = 4),
    dimension LowCardinality(String) COMMENT 'what it is cut by, joined by commas; blank for the total',
    pane      DateTime('UTC'),
    value     Array(String) COMMENT 'of the dimensions, in their order',
    currency  LowCardinality(String),
    shard     UInt32,
    counts    Array(Int64),
    sums      Array(Decimal(38, 4)),
    sketch    Map(Int16, Int64) COMMENT 'DDSketch buckets, γ = 101/99',
    version   UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY (epoch, toYear(pane))
ORDER BY (epoch, series, grain, dimension, pane, value, currency, shard);

-- The rollups of the current epoch, summed over the shards.
CREATE VIEW cells AS
SELECT
    series, grain, pane, dimension, value, currency,
    sumForEach(r.counts) AS counts,
    sumForEach(r.sums) AS sums,
    sumMap(r.sketch) AS sketch
FROM rollups AS r FINAL
WHERE epoch = (SELECT epoch FROM current_epoch)
GROUP BY series, grain, pane, dimension, value, currency;

-- The same by local day; the views of the metrics read it.
CREATE VIEW cells_by_day AS
SELECT series, toDate(pane) AS day, dimension, value, currency, counts, sums, sketch
FROM cells
WHERE grain = 'day';
