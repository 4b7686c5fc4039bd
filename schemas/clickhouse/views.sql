-- The views that those of the metrics are made from. They depend on the organisation's definitions, and so are made again with these.

-- For whom an owner's numbers count besides: from one day up to before another (days since 1970, of the organisation's time zone), under
-- `manager` every manager above (a manager's own included), under `org_unit` the team and every team it was a part of. A user counts under the
-- first manager and team that are known of them from the beginning, and a cycle is cut where it closes.
CREATE VIEW reporting_lines AS
WITH RECURSIVE
    histories AS
    (
        SELECT 'manager' AS kind, id AS child,
            if(empty(manager_id_history), [(toDateTime64(0, 6, 'UTC'), manager_id)], manager_id_history) AS history
        FROM users FINAL
        WHERE generation = (SELECT generation FROM current_epoch)
        UNION ALL
        SELECT 'team' AS kind, id AS child,
            if(empty(team_history), [(toDateTime64(0, 6, 'UTC'), toString(team))], team_history) AS history
        FROM users FINAL
        WHERE generation = (SELECT generation FROM current_epoch)
        UNION ALL
        SELECT 'org_unit' AS kind, name AS child,
            if(empty(parent_history), [(toDateTime64(0, 6, 'UTC'), parent)], parent_history) AS history
        FROM teams FINAL
        WHERE generation = (SELECT generation FROM current_epoch) AND deleted = 0 AND name != ''
    ),
    steps AS
    (
        SELECT kind, child, step.1 AS parent, step.2 AS from_day, step.3 AS to_day
        FROM
        (
            SELECT kind, child, arrayMap(h -> toInt32(toDate32(h.1, '{time_zone}')), history) AS days,
                arrayZip(
                    arrayMap(h -> h.2, history),
                    arrayConcat([toInt32(-2147483648)], arrayPopFront(days)),
                    arrayConcat(arrayPopFront(days), [toInt32(2147483647)])) AS steps_of_child
            FROM histories
        )
        ARRAY JOIN steps_of_child AS step
        WHERE parent != '' AND from_day < to_day
    ),
    lines AS
    (
        SELECT if(kind = 'team', 'org_unit', kind) AS dimension, child AS owner, parent AS value, from_day, to_day, [parent] AS way
        FROM steps
        WHERE kind IN ('manager', 'team') AND NOT (kind = 'manager' AND parent = child)
        UNION ALL
        SELECT l.dimension, l.owner, s.parent, greatest(l.from_day, s.from_day), least(l.to_day, s.to_day), arrayPushBack(l.way, s.parent)
        FROM lines AS l
        INNER JOIN steps AS s ON s.kind = l.dimension AND s.child = l.value
        WHERE greatest(l.from_day, s.from_day) < least(l.to_day, s.to_day)
            AND NOT has(l.way, s.parent) AND NOT (l.dimension = 'manager' AND s.parent = l.owner)
    )
SELECT dimension, owner, value, from_day, to_day
FROM lines
UNION ALL
SELECT DISTINCT 'manager' AS dimension, parent AS owner, parent AS value, toInt32(-2147483648) AS from_day, toInt32(2147483647) AS to_day
FROM steps
WHERE kind = 'manager';

-- The same, worked out once a minute: it would take several times as long as what it is looked up for.
CREATE MATERIALIZED VIEW IF NOT EXISTS reporting_lines_by_minute
REFRESH EVERY 1 MINUTE
ENGINE = MergeTree
ORDER BY owner
AS SELECT dimension, owner, value, from_day, to_day
FROM reporting_lines;

-- What values are called: by their labels, else by what users and stages are called.
CREATE VIEW value_names AS
SELECT dimension, value, argMin(name, (place, id)) AS name
FROM
(
    SELECT toString(dimension) AS dimension, value, name, 0 AS place, id
    FROM labels FINAL
    WHERE generation = (SELECT generation FROM current_epoch) AND deleted = 0
    UNION ALL
    SELECT 'stage' AS dimension, if(stage = '', id, stage) AS value, name, 1 AS place, id
    FROM stages FINAL
    WHERE generation = (SELECT generation FROM current_epoch)
    UNION ALL
    SELECT arrayJoin(['owner', 'manager']) AS dimension, id AS value, name, 1 AS place, id
    FROM users FINAL
    WHERE generation = (SELECT generation FROM current_epoch)
) AS named
WHERE named.name != '' AND named.value != ''
GROUP BY dimension, value;

-- The rollups of the current epoch, summed over the shards, without the hours that are not kept any more; and those by owner once more by
-- manager and organisational unit, as of the same time as the owner: that of the pane, or today's.
CREATE VIEW cells AS
WITH summed AS
(
    SELECT
        series, grain, pane, dimension, value, currency,
        sumForEach(r.counts) AS counts,
        sumForEach(r.sums) AS sums,
        sumMap(r.sketch) AS sketch
    FROM rollups AS r FINAL
    WHERE epoch = (SELECT epoch FROM current_epoch) AND {is_kept}
    GROUP BY series, grain, pane, dimension, value, currency
)
SELECT series, grain, pane, toString(dimension) AS dimension, value, currency, counts, sums, sketch
FROM summed
UNION ALL
SELECT
    series, grain, pane, line.1 AS dimension, [line.2] AS value, currency,
    sumForEach(c.counts) AS counts,
    sumForEach(c.sums) AS sums,
    sumMap(c.sketch) AS sketch
FROM
(
    SELECT
        s.series AS series, s.grain AS grain, s.pane AS pane, s.currency AS currency, s.counts AS counts, s.sums AS sums, s.sketch AS sketch,
        multiIf(
            s.series IN ({series_of_today}) OR s.grain = 'undated', 2147483646,
            s.grain = 'hour', toInt32(toDate32(s.pane, '{time_zone}')),
            toInt32(toDate32(s.pane, 'UTC'))) AS day,
        arrayFilter(l -> l.3 <= day AND day < l.4, o.lines) AS known,
        arrayConcat(known, arrayFilter(l -> NOT has(known.1, l.1), [('manager', '', 0, 0), ('org_unit', '', 0, 0)])) AS lines
    FROM summed AS s
    LEFT JOIN
    (
        SELECT owner, groupArray((dimension, value, from_day, to_day)) AS lines
        FROM reporting_lines_by_minute
        GROUP BY owner
    ) AS o ON o.owner = s.value[1]
    WHERE s.dimension = 'owner' AND (SELECT count() FROM reporting_lines_by_minute) > 0
) AS c
ARRAY JOIN lines AS line
GROUP BY series, grain, pane, dimension, value, currency;

-- The same by local day; the views of the metrics read it.
CREATE VIEW cells_by_day AS
SELECT series, toDate(pane) AS day, dimension, value, currency, counts, sums, sketch
FROM cells
WHERE grain = 'day';
