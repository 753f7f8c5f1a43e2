-- MRBS: the people registered for an entry, by username; keyed u<mrbs_users.id> where the account is known. A booking in several rooms
-- is one meeting: its guests have the key that each of its entries gives from its own columns.
SELECT DISTINCT
    CASE
        WHEN p.uid = '' THEN REPLACE('id/<id>', '<id>', CAST(p.entry_id AS CHAR(20)))
        WHEN p.occurrence = '' THEN REPLACE('<uid>', '<uid>', p.uid)
        ELSE REPLACE(REPLACE('<uid>/<occurrence>',
            '<occurrence>', p.occurrence),
            '<uid>', p.uid)
    END AS source_event_id,
    REPLACE('u<id>', '<id>', CAST(u.id AS CHAR(20))) AS guest_id,
    COALESCE(
        NULLIF(TRIM(CAST(u.email AS CHAR(255))), ''),
        CASE
            WHEN REPLACE(p.username, '@', '') <> p.username THEN TRIM(CAST(p.username AS CHAR(255)))
            WHEN u.id IS NULL AND REPLACE(TRIM(p.username), ' ', '') <> TRIM(p.username) THEN NULL
            WHEN TRIM(CAST(p.username AS CHAR(255))) <> '' THEN REPLACE(REPLACE('<login>@<domain>',
                '<domain>', REPLACE(CAST(:email_domain AS CHAR(200)), '@', '')),
                '<login>', TRIM(CAST(p.username AS CHAR(255))))
        END
    ) AS email,
    COALESCE(
        NULLIF(TRIM(CAST(u.display_name AS CHAR(255))), ''),
        CASE
            WHEN u.id IS NOT NULL OR REPLACE(p.username, '@', '') <> p.username THEN NULL
            WHEN CAST(:email_domain AS CHAR(200)) IS NULL OR REPLACE(TRIM(p.username), ' ', '') <> TRIM(p.username) THEN NULLIF(TRIM(CAST(p.username AS CHAR(255))), '')
        END
    ) AS full_name,
    CASE WHEN u.id IS NULL THEN NULL WHEN CAST(:users_internal AS CHAR(1)) = '1' THEN 1 ELSE 0 END AS internal
FROM (
    SELECT
        m.entry_id,
        m.username,
        CAST(COALESCE(n.ical_uid, '') AS CHAR(255)) AS uid,
        CAST(COALESCE(n.ical_recur_id, '') AS CHAR(16)) AS occurrence
    FROM mrbs_participants m
    JOIN mrbs_entry n ON n.id = m.entry_id
) p
LEFT JOIN (
    SELECT LOWER(TRIM(CAST(name AS CHAR(255)))) AS login, MIN(id) AS id
    FROM mrbs_users
    GROUP BY LOWER(TRIM(CAST(name AS CHAR(255))))
) account ON account.login = LOWER(TRIM(CAST(p.username AS CHAR(255))))
LEFT JOIN mrbs_users u ON u.id = account.id
