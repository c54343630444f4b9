"""What every simulated service is made of: a clock, events in virtual time, long-running operations, and ARM's manners."""
