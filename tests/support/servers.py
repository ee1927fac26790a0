"""Settings of the PostgreSQL servers that tests start."""

TEMPLATE_DATABASE = "studysmart_template"
# Nothing in a test outlives a crash of the machine, so no test waits for the disk.
FAST_SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=200")
