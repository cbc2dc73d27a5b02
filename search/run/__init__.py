"""Running a search: the request, the log, the loop that resumes, the results and their drawing."""
