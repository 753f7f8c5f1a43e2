-- LibreBooking: guests by e-mail (no key of their own), then invited users (keyed u<user_id>). Level 1 is the host, no guest.
SELECT
    i.reference_number AS source_event_id,
    NULL AS guest_id,
    CAST(g.email AS CHAR) AS email,
    NULL AS first_name,
    NULL AS last_name,
    NULL AS company_name,
    NULL AS language,
    NULL AS internal
FROM reservation_guests g
JOIN reservation_instances i ON i.reservation_instance_id = g.reservation_instance_id
UNION ALL
SELECT
    i.reference_number,
    REPLACE('u<id>', '<id>', CAST(m.user_id AS CHAR)),
    CAST(u.email AS CHAR),
    CAST(u.fname AS CHAR),
    CAST(u.lname AS CHAR),
    CAST(u.organization AS CHAR),
    CASE u.language
        WHEN 'du_nl' THEN 'nl' WHEN 'du_be' THEN 'nl' WHEN 'cz' THEN 'cs' WHEN 'ee_ee' THEN 'et' WHEN 'si_si' THEN 'sl' WHEN 'vn_vn' THEN 'vi'
        ELSE CAST(u.language AS CHAR)
    END,
    CASE WHEN :users_internal = 0 THEN 0 ELSE 1 END
FROM reservation_users m
JOIN reservation_instances i ON i.reservation_instance_id = m.reservation_instance_id
LEFT JOIN users u ON u.user_id = m.user_id
WHERE m.reservation_user_level IN (2, 3)
