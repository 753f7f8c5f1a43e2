-- MRBS: the people registered for an occurrence, by username; keyed u<mrbs_users.id> where the account is known.
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
    REPLACE('u<id>', '<id>', CAST(u.id AS CHAR(20))) AS guest_id,
    COALESCE(
        NULLIF(TRIM(u.email), ''),
        CASE
            WHEN REPLACE(p.username, '@', '') <> p.username THEN TRIM(p.username)
            WHEN TRIM(p.username) <> '' THEN REPLACE(REPLACE('<login>@<domain>',
                '<domain>', REPLACE(CAST(:email_domain AS CHAR(200)), '@', '')),
                '<login>', TRIM(p.username))
        END
    ) AS email,
    NULLIF(TRIM(u.display_name), '') AS full_name,
    CASE WHEN u.id IS NULL THEN NULL WHEN CAST(:users_internal AS CHAR(1)) = '1' THEN 1 ELSE 0 END AS internal
FROM mrbs_participants p
JOIN (
    SELECT
        n.id, n.start_time, n.end_time, n.room_id, n.create_by, n.name, n.status, n.ical_uid, n.ical_recur_id,
        ROW_NUMBER() OVER (
            PARTITION BY n.ical_uid, COALESCE(n.ical_recur_id, '')
            ORDER BY CASE WHEN registered.entry_id IS NULL THEN 1 ELSE 0 END, n.ical_sequence DESC, n.id
        ) AS nth
    FROM mrbs_entry n
    LEFT JOIN (SELECT DISTINCT entry_id FROM mrbs_participants) registered ON registered.entry_id = n.id
) e ON e.id = p.entry_id
LEFT JOIN (
    SELECT LOWER(TRIM(name)) AS login, MIN(id) AS id
    FROM mrbs_users
    GROUP BY LOWER(TRIM(name))
) account ON account.login = LOWER(TRIM(p.username))
LEFT JOIN mrbs_users u ON u.id = account.id
