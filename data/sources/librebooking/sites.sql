-- LibreBooking: a site is a schedule.
SELECT d.schedule_id AS site_key, d.name AS site_name, l.timezone AS timezone
FROM schedules d
LEFT JOIN layouts l ON l.layout_id = d.layout_id
ORDER BY d.schedule_id
