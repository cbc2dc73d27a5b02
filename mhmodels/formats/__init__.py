"""Reading data of users within limits: JSON, archives, numbers, and structs that check themselves."""
