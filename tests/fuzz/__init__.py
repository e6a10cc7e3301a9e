"""What strangers send, damaged in every way that comes to mind, must end as a value or as a clean error."""
