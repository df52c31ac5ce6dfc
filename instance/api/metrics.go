package api

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics of the API. Every label has a bound: routes are patterns of ours,
// codes are statuses.
type metrics struct {
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inflight prometheus.Gauge
	streams  prometheus.Gauge
	heavy    prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meridian_api_calls_total", Help: "Calls answered, by route and status.",
		}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "meridian_api_call_seconds", Help: "Time to answer, by route; streams count until they end.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"route"}),
		inflight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meridian_api_calls_in_flight", Help: "Calls being answered now.",
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meridian_api_watches", Help: "Watches open now.",
		}),
		heavy: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meridian_api_heavy_questions", Help: "Questions being answered that take long: impact, replay, past, forecasts, previews, examinations, exports.",
		}),
	}
	r.MustRegister(m.calls, m.seconds, m.inflight, m.streams, m.heavy)
	return m
}

func (m *metrics) observe(route, code string, took time.Duration) {
	m.calls.WithLabelValues(route, code).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

func metricsHandler(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{})
}
