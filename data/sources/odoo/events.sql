-- Odoo 17 and later: one row a calendar event; occurrences of a series are rows of their own. Times are UTC. Policies: README.md beside this file.
SELECT
    e.id AS source_event_id,
    e.name AS name,
    e.start AS starts_at,
    e.stop AS ends_at,
    NULLIF(TRIM(e.location), '') AS room_key,
    NULLIF(TRIM(e.location), '') AS room_name,
    u.company_id AS site_key,
    CASE
        WHEN e.active = FALSE THEN 'cancelled'
        WHEN COALESCE(TRIM(e.location), '') = '' AND CAST(:without_location AS CHAR(10)) = 'no visit' THEN 'pending'
        ELSE 'confirmed'
    END AS status,
    CASE COALESCE(e.privacy, s.calendar_default_privacy) WHEN 'public' THEN 0 ELSE 1 END AS private,
    p.email AS host_email,
    p.phone AS host_phone,
    CASE WHEN u.active = FALSE THEN 0 WHEN u.active = TRUE THEN 1 END AS host_active,
    e.write_date AS updated_at,
    CASE
        WHEN e.allday = TRUE AND visitors.event_id IS NOT NULL
            THEN 'an all-day event says no time at which its guests come: give it a start and an end in Odoo'
    END AS problem
FROM calendar_event e
LEFT JOIN res_users u ON u.id = e.user_id
LEFT JOIN res_partner p ON p.id = u.partner_id
LEFT JOIN res_users_settings s ON s.user_id = u.id
LEFT JOIN (
    SELECT a.event_id
    FROM calendar_attendee a
    LEFT JOIN res_users staff ON staff.partner_id = a.partner_id AND staff.share = FALSE AND staff.active = TRUE
    WHERE COALESCE(a.state, '') <> 'declined' AND staff.id IS NULL
    GROUP BY a.event_id
) visitors ON visitors.event_id = e.id
