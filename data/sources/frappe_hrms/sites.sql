-- Frappe HRMS: a site is a branch.
SELECT name AS site_key, branch AS site_name
FROM `tabBranch`
ORDER BY name
