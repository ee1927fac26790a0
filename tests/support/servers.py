"""Settings of the PostgreSQL servers that tests start."""

TEMPLATE_DATABASE = "studysmart_template"
ROLE_PREFIX = "studysmart"
# Nothing in a test outlives a crash of the machine, so no test waits for the disk.
FAST_SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=200")


def login_as(role: str, database_url: str) -> str:
    """Return a URL of a test's database, as a program that logs in by one of the three roles has it."""
    return database_url.replace("//postgres@", f"//{ROLE_PREFIX}_{role}@")
