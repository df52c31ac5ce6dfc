# Service-level permissions: what a subject may do that is not about one record.
package meridian.service
