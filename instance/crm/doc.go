// Package crm is the vocabulary of Meridian: entities, records, changes,
// subjects, facts and errors, in the words of the business.
//
// It imports only the standard library and knows nothing of storage, policy,
// wire formats or plugins; every other package imports it. Types here carry
// the rules that hold everywhere (what a valid definition is, what kinds of
// errors exist), never the ones an officer may change: those are policy.
package crm
