// A callable by reference: what crosses from templates into code that is compiled once.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

namespace dca::detail {

template <class Signature>
class FunctionRef;

/// Calls a const callable that must outlive it. Allocates nothing.
template <class R, class... Arguments>
class FunctionRef<R(Arguments...)> {
 public:
  template <class F>
  requires(!std::same_as<std::remove_cvref_t<F>, FunctionRef> && std::is_invocable_r_v<R, const F&, Arguments...>)
      FunctionRef(const F& f)
      : callable_(std::addressof(f)), call_([](const void* callable, Arguments... arguments) -> R {
          return (*static_cast<const F*>(callable))(std::forward<Arguments>(arguments)...);
        }) {}

  R operator()(Arguments... arguments) const { return call_(callable_, std::forward<Arguments>(arguments)...); }

 private:
  const void* callable_;
  R (*call_)(const void*, Arguments...);
};

}  // namespace dca::detail
