-- MRBS: one row an occurrence. Times are Unix seconds. Policies, and why the key is not mrbs_entry.id: README.md beside this file.
SELECT
    CASE
        WHEN COALESCE(e.ical_uid, '') = '' THEN REPLACE('id/<id>', '<id>', CAST(e.id AS CHAR(20)))
        WHEN COALESCE(e.ical_recur_id, '') = '' AND e.nth = 1 THEN e.ical_uid
        WHEN e.nth = 1 THEN REPLACE(REPLACE('<uid>/<occurrence>',
            '<occurrence>', e.ical_recur_id),
            '<uid>', e.ical_uid)
        ELSE REPLACE(REPLACE(REPLACE('<uid>/<occurrence>/room<room>',
            '<occurrence>', COALESCE(e.ical_recur_id, '')),
            '<room>', CAST(e.room_id AS CHAR(20))),
            '<uid>', e.ical_uid)
    END AS source_event_id,
    e.name AS name,
    e.start_time AS starts_at,
    e.end_time AS ends_at,
    a.timezone AS timezone,
    e.room_id AS room_key,
    r.room_name AS room_name,
    r.area_id AS site_key,
    CASE WHEN (e.status & 6) <> 0 THEN 'pending' ELSE 'confirmed' END AS status,
    CASE WHEN (e.status & 1) <> 0 OR a.private_override = 'private' THEN 1 ELSE 0 END AS private,
    COALESCE(
        NULLIF(TRIM(u.email), ''),
        CASE
            WHEN REPLACE(e.create_by, '@', '') <> e.create_by THEN TRIM(e.create_by)
            WHEN TRIM(e.create_by) <> '' THEN REPLACE(REPLACE('<login>@<domain>',
                '<domain>', REPLACE(CAST(:email_domain AS CHAR(200)), '@', '')),
                '<login>', TRIM(e.create_by))
        END
    ) AS host_email,
    CASE WHEN a.enable_periods = 1 THEN 'area uses periods, not clock times' END AS problem
FROM (
    SELECT
        n.id, n.start_time, n.end_time, n.room_id, n.create_by, n.name, n.status, n.ical_uid, n.ical_recur_id,
        ROW_NUMBER() OVER (
            PARTITION BY n.ical_uid, COALESCE(n.ical_recur_id, '')
            ORDER BY CASE WHEN registered.entry_id IS NULL THEN 1 ELSE 0 END, n.ical_sequence DESC, n.id
        ) AS nth
    FROM mrbs_entry n
    LEFT JOIN (SELECT DISTINCT entry_id FROM mrbs_participants) registered ON registered.entry_id = n.id
) e
LEFT JOIN mrbs_room r ON r.id = e.room_id
LEFT JOIN mrbs_area a ON a.id = r.area_id
LEFT JOIN (
    SELECT LOWER(TRIM(name)) AS login, MIN(id) AS id
    FROM mrbs_users
    GROUP BY LOWER(TRIM(name))
) account ON account.login = LOWER(TRIM(e.create_by))
LEFT JOIN mrbs_users u ON u.id = account.id
