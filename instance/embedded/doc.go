// Package embedded runs the zero-install servers of a laptop: PostgreSQL as a
// direct child process and a one-broker Kafka inside the calling process. It
// knows nothing of records or policy.
//
// Invariants: a server never outlives the process that started it (it dies by
// the kernel's parent-death signal when that process is killed); what a killed
// run left behind is recovered by the next; nothing listens beyond loopback or
// a socket in a folder that only the caller may enter.
package embedded
