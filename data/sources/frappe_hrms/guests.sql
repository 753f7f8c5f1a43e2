-- Frappe HRMS: the applicant is the guest. A Job Applicant's name is usually the e-mail address: then it is no key (README.md).
SELECT
    i.name AS source_event_id,
    CASE WHEN INSTR(i.job_applicant, '@') = 0 THEN i.job_applicant END AS guest_id,
    a.email_id AS email,
    a.applicant_name AS full_name
FROM `tabInterview` i
LEFT JOIN `tabJob Applicant` a ON a.name = i.job_applicant
WHERE i.job_applicant <> ''
