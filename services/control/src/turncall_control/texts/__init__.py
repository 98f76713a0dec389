"""Messages to phones: kept until the carrier has them, asked for once, looked after until they are delivered."""
