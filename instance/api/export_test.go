package api

// Paths is the registry: every path that an instance serves.
func Paths(c Config) []string { return newServer(c).paths }
