-- Odoo: the attendees who have not declined, keyed p<res_partner.id>. A partner with an active account of the company is an employee.
SELECT DISTINCT
    a.event_id AS source_event_id,
    REPLACE('p<id>', '<id>', CAST(p.id AS CHAR(20))) AS guest_id,
    p.email AS email,
    p.name AS full_name,
    p.commercial_company_name AS company_name,
    p.lang AS language,
    CASE WHEN staff.partner_id IS NOT NULL THEN 1 ELSE 0 END AS internal
FROM calendar_attendee a
LEFT JOIN res_partner p ON p.id = a.partner_id
LEFT JOIN (
    SELECT partner_id
    FROM res_users
    WHERE share = FALSE AND active = TRUE
    GROUP BY partner_id
) staff ON staff.partner_id = a.partner_id
WHERE COALESCE(a.state, '') <> 'declined'
