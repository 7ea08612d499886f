#include "layer_cache_of.hpp"

template std::unique_ptr<dca_lm::LayerCache> dca_lm::make_layer_cache<dca::Int4>(const Operator&, const InterSelection&,
                                                                                 dca::CacheShape, const CacheSize&);
