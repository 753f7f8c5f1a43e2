-- MRBS: one row an entry. Times are Unix seconds. Policies, and why the key is not mrbs_entry.id: README.md beside this file.
-- Texts that are put together are CAST first, each of them: MariaDB gives a CAST the connection's collation, and mixes no two.
SELECT
    CASE
        WHEN e.uid = '' THEN REPLACE('id/<id>', '<id>', CAST(e.id AS CHAR(20)))
        WHEN e.nth > 1 THEN REPLACE(REPLACE(REPLACE('<uid>/<occurrence>/room<room>',
            '<occurrence>', e.occurrence),
            '<room>', CAST(e.room_id AS CHAR(20))),
            '<uid>', e.uid)
        WHEN e.occurrence = '' THEN REPLACE('<uid>', '<uid>', e.uid)
        ELSE REPLACE(REPLACE('<uid>/<occurrence>',
            '<occurrence>', e.occurrence),
            '<uid>', e.uid)
    END AS source_event_id,
    e.name AS name,
    e.start_time AS starts_at,
    e.end_time AS ends_at,
    a.timezone AS timezone,
    e.room_id AS room_key,
    r.room_name AS room_name,
    r.area_id AS site_key,
    CASE
        WHEN e.status IS NULL OR e.status NOT BETWEEN 0 AND 7 THEN 'unknown'
        WHEN (e.status & 6) <> 0 OR several.pending = 1 THEN 'pending'
        ELSE 'confirmed'
    END AS status,
    CASE WHEN (e.status & 1) <> 0 OR several.private = 1 OR a.private_override = 'private' THEN 1 ELSE 0 END AS private,
    COALESCE(
        NULLIF(TRIM(CAST(u.email AS CHAR(255))), ''),
        CASE
            WHEN REPLACE(e.login, '@', '') <> e.login THEN TRIM(e.login)
            WHEN TRIM(e.login) <> '' THEN REPLACE(REPLACE('<login>@<domain>',
                '<domain>', REPLACE(CAST(:email_domain AS CHAR(200)), '@', '')),
                '<login>', TRIM(e.login))
        END
    ) AS host_email,
    CASE
        WHEN a.enable_periods = 1 THEN 'area uses periods, not clock times'
        WHEN e.nth = 1 AND (several.first_start <> several.last_start OR several.first_end <> several.last_end)
            THEN 'people are registered for one booking at different times in several rooms: make two bookings of it in MRBS'
    END AS problem
FROM (
    SELECT
        o.*,
        ROW_NUMBER() OVER (PARTITION BY o.uid, o.occurrence, o.alone ORDER BY o.unregistered, o.first_registered, o.room_id, o.id) AS nth
    FROM (
        SELECT
            n.id, n.start_time, n.end_time, n.room_id, n.name, n.status,
            CAST(n.create_by AS CHAR(255)) AS login,
            CAST(COALESCE(n.ical_uid, '') AS CHAR(255)) AS uid,
            CAST(COALESCE(n.ical_recur_id, '') AS CHAR(16)) AS occurrence,
            CASE WHEN COALESCE(n.ical_uid, '') = '' THEN n.id END AS alone,
            CASE WHEN taken.entry_id IS NULL THEN 1 ELSE 0 END AS unregistered,
            COALESCE(taken.first_registered, 0) AS first_registered
        FROM mrbs_entry n
        LEFT JOIN (
            SELECT entry_id, MIN(registered) AS first_registered
            FROM mrbs_participants
            GROUP BY entry_id
        ) taken ON taken.entry_id = n.id
    ) o
) e
LEFT JOIN (
    SELECT
        m.uid, m.occurrence,
        MIN(m.start_time) AS first_start, MAX(m.start_time) AS last_start, MIN(m.end_time) AS first_end, MAX(m.end_time) AS last_end,
        MAX(CASE WHEN (m.status & 6) <> 0 THEN 1 ELSE 0 END) AS pending,
        MAX(CASE WHEN (m.status & 1) <> 0 THEN 1 ELSE 0 END) AS private
    FROM (
        SELECT
            n.start_time, n.end_time, n.status,
            CAST(n.ical_uid AS CHAR(255)) AS uid,
            CAST(COALESCE(n.ical_recur_id, '') AS CHAR(16)) AS occurrence
        FROM mrbs_entry n
        JOIN (SELECT DISTINCT entry_id FROM mrbs_participants) taken ON taken.entry_id = n.id
        WHERE n.ical_uid <> ''
    ) m
    GROUP BY m.uid, m.occurrence
    HAVING COUNT(*) > 1
) several ON several.uid = e.uid AND several.occurrence = e.occurrence
LEFT JOIN mrbs_room r ON r.id = e.room_id
LEFT JOIN mrbs_area a ON a.id = r.area_id
LEFT JOIN (
    SELECT LOWER(TRIM(CAST(name AS CHAR(255)))) AS login, MIN(id) AS id
    FROM mrbs_users
    GROUP BY LOWER(TRIM(CAST(name AS CHAR(255))))
) account ON account.login = LOWER(TRIM(e.login))
LEFT JOIN mrbs_users u ON u.id = account.id
WHERE e.nth <= 2
