-- The state of cells that are gone when they are over, such as the open pipeline, in every hour in which they were touched. One row a cell, shard
-- and hour, as in the rollups; of one key the greatest version counts. As of an hour, the latest row before it is the cell's state: an idle
-- cell has none of its own. Rows outlive their epoch, so that a forecast of last year stays the one that was read then.
CREATE TABLE hourly
(
    epoch     UInt32,
    series    LowCardinality(String),
    grain     Enum8('hour' = 1, 'day' = 2, 'month' = 3, 'undated' = 4),
    dimension LowCardinality(String),
    pane      DateTime('UTC'),
    value     Array(String),
    currency  LowCardinality(String),
    shard     UInt32,
    hour      DateTime('UTC') COMMENT 'its start, by the greatest time at which the log took a message',
    counts    Array(Int64),
    sums      Array(Decimal(38, 4)),
    sketch    Map(Int16, Int64),
    version   UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY epoch
ORDER BY (epoch, series, grain, dimension, pane, value, currency, shard, hour);
