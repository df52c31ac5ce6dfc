package crm_test

import (
	"testing"
	"time"

	"meridian/instance/crm"
)

func TestMasks(t *testing.T) {
	at := func(s string) crm.Value {
		x, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return crm.Timestamp(x)
	}
	for _, c := range []struct {
		mask     crm.Mask
		of, want crm.Value
	}{
		{crm.MaskHide, crm.String("anything"), crm.Value{}},
		{crm.MaskLastFour, crm.String("DE89370400440532013000"), crm.String("••••3000")},
		{crm.MaskLastFour, crm.String("12345678"), crm.String("••••5678")},
		{crm.MaskLastFour, crm.String("1234567"), crm.String("••••")},
		{crm.MaskLastFour, crm.String(""), crm.String("••••")},
		{crm.MaskLastFour, crm.String("äöüßÄÖÜẞ"), crm.String("••••ÄÖÜẞ")},
		{crm.MaskLastFour, crm.Value{}, crm.Value{}},
		{crm.MaskYear, crm.Date("1984-02-29"), crm.Date("1984-01-01")},
		{crm.MaskYear, at("2025-12-31T23:59:59.999999Z"), at("2025-01-01T00:00:00Z")},
		{crm.MaskBand, crm.Decimal("416161000000"), crm.Decimal("100000000000")},
		{crm.MaskBand, crm.Decimal("1000"), crm.Decimal("1000")},
		{crm.MaskBand, crm.Decimal("999.99"), crm.Decimal("100")},
		{crm.MaskBand, crm.Decimal("-42.5"), crm.Decimal("-10")},
		{crm.MaskBand, crm.Decimal("0.0075"), crm.Decimal("0.001")},
		{crm.MaskBand, crm.Decimal("-0.5"), crm.Decimal("-0.1")},
		{crm.MaskBand, crm.Decimal("0"), crm.Decimal("0")},
		{crm.MaskBand, crm.Integer(-9223372036854775808), crm.Integer(-1000000000000000000)},
		{crm.MaskBand, crm.Integer(0), crm.Integer(0)},
		{crm.MaskBand, crm.Integer(7), crm.Integer(1)},
		{crm.MaskBand, crm.Value{}, crm.Value{}},
	} {
		if got := c.mask.Of(c.of); !got.Equal(c.want) {
			t.Errorf("%s of %q is %q, want %q", c.mask, c.of.Text(), got.Text(), c.want.Text())
		}
	}
}
