package crm

import "errors"

// ParseCondition reads the filter language against the entity's definition.
// Empty text is a nil Condition. An error names the field and the remedy.
func ParseCondition(d Definition, text string) (Condition, error) {
	return nil, errors.New("being written")
}

// ParseSort reads "-annual_revenue,name".
func ParseSort(d Definition, text string) ([]SortKey, error) {
	return nil, errors.New("being written")
}
