-- Frappe HRMS, 15.7 and later 15: one row an interview. Wall-clock times of the site, no zone. Policies: README.md beside this file.
SELECT
    i.name AS source_event_id,
    i.interview_round AS name,
    REPLACE(REPLACE('<date> <time>',
        '<date>', CAST(i.scheduled_on AS CHAR)),
        '<time>', SUBSTR(CAST(i.from_time AS CHAR), 1, 8)) AS starts_at,
    REPLACE(REPLACE('<date> <time>',
        '<date>', CAST(i.scheduled_on AS CHAR)),
        '<time>', SUBSTR(CAST(i.to_time AS CHAR), 1, 8)) AS ends_at,
    o.location AS site_key,
    CASE
        WHEN i.docstatus = 2 OR i.status IN ('Rejected', 'Cancelled') THEN 'cancelled'
        WHEN i.status IN ('Pending', 'Under Review', 'Cleared') THEN 'confirmed'
        ELSE 'unknown'
    END AS status,
    host.interviewer AS host_email,
    e.first_name AS host_first_name,
    e.last_name AS host_last_name,
    e.cell_number AS host_phone,
    CASE WHEN e.status = 'Active' THEN 1 WHEN e.status IS NOT NULL THEN 0 END AS host_active,
    i.modified AS updated_at,
    CASE
        WHEN i.scheduled_on IS NULL THEN 'the interview has no date yet'
        WHEN i.from_time IS NULL THEN 'the interview has no time yet'
    END AS problem
FROM `tabInterview` i
LEFT JOIN `tabJob Opening` o ON o.name = i.job_opening
LEFT JOIN (
    SELECT
        d.parent, d.interviewer, w.name AS employee,
        ROW_NUMBER() OVER (
            PARTITION BY d.parent
            ORDER BY
                CASE WHEN INSTR(d.interviewer, '@') > 0 AND COALESCE(w.status, 'Active') = 'Active' THEN 0 ELSE 1 END,
                d.idx, d.interviewer
        ) AS nth
    FROM `tabInterview Detail` d
    LEFT JOIN (
        SELECT user_id, COALESCE(MIN(CASE WHEN status = 'Active' THEN name END), MIN(name)) AS name
        FROM `tabEmployee`
        WHERE user_id <> ''
        GROUP BY user_id
    ) account ON account.user_id = d.interviewer
    LEFT JOIN `tabEmployee` w ON w.name = account.name
    WHERE d.parenttype = 'Interview' AND d.interviewer <> ''
) host ON host.parent = i.name AND host.nth = 1
LEFT JOIN `tabEmployee` e ON e.name = host.employee
