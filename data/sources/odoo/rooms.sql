-- Odoo: a room is the location of an event, as it was typed.
SELECT DISTINCT TRIM(e.location) AS room_key, TRIM(e.location) AS room_name, u.company_id AS site_key
FROM calendar_event e
LEFT JOIN res_users u ON u.id = e.user_id
WHERE TRIM(e.location) <> '' AND e.active = TRUE
ORDER BY 1, 3
