-- Odoo: a site is a company, that of the organizer.
SELECT id AS site_key, name AS site_name
FROM res_company
ORDER BY id
